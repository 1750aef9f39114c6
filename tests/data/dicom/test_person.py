"""Whether a text names a patient, in the ways that names and numbers are written."""

import pytest

pytest.importorskip("pydicom")
import pydicom

from dicom_files import item
from dsnet.data.dicom.header import quiet
from dsnet.data.dicom.person import person_of, tells_of


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Doe^Jane", "of jane"), ("Doe^Jane", "DOE_J lesion 1"), ("Doe^Jane", "JaneDoe1"),
        ("Doe^Jane", "doejane"), ("Doe^Jane", "xdoejanex"), ("Doe^Jane", "doe1"),
        ("Li^Na", "Li, nodule 2"), ("Ng^A", "target NG"), ("O'Brien^Pat", "OBrien"),
        ("O'Brien^Pat", "o brien"), ("Müller^Jörg", "Mueller"), ("Müller^Jörg", "MULLER"),
        ("Müller^Jörg", "mu\u0308ller"), ("Mueller", "Mueller left"), ("José", "jose left"),
        ("Иванов^Иван", "очаг Иванова"), ("Παπαδόπουλος", "ΠΑΠΑΔΟΠΟΥΛΟΣ 1"),
        ("Sørensen", "Sorensen"),
        ("Wang^XiaoDong=王^小东", "王小东的结节"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田さん"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "홍길동 결절"), ("สมชาย", "ก้อนของสมชายซ้าย"),
        ("P-1", "P-1"), ("P-1", "p1 right"), ("A-77", "A 77"), ("0012345", "no. 12345"),
        ("12345", "lesion0012345"), ("AB123456", "xxAB123456yy"), ("a\\77-b", "77b"),
        ("19700102", "1970-01-02"), ("19700102", "born 2.1.1970"), ("19700102", "01/02/70"),
        ("19700102", "02011970"), ("19700102", "x19700102"),
    ],
)  # fmt: skip
def test_a_text_that_names_somebody(name, said):
    assert tells_of(said, [name])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Doe^Jane", ""), ("Doe^Jane", "nodule in the left upper lobe, target 1"), ("", "nodule"),
        ("Li^Na", "nodule in the right lobe, solid"), ("Doe^J", "j"), ("^^", "nodule"),
        ("P-1", "lesion 1"), ("P-1", "P-2"), ("19700102", "1.2.1971"), ("王^小东", "右肺结节"),
        ("Ив^А", "увеличен"), ("12345", "1234"),
    ],
)  # fmt: skip
def test_a_text_that_names_nobody(name, said):
    assert not tells_of(said, [name])


def test_what_an_object_calls_its_patient():
    made = item(
        PatientName="Doe^Jane", PatientID="", OtherPatientIDs=["A", "B"], AccessionNumber="7",
        OtherPatientIDsSequence=[item(PatientID="C")], StudyInstanceUID="1.2",
    )  # fmt: skip
    assert person_of(made) == {
        "PatientName": "Doe^Jane", "OtherPatientIDs": "A\\B\\C", "AccessionNumber": "7"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "written"),
    [("", "utf-8"), ("", "gb18030"), ("ISO_IR 192", "utf-8"), ("?", "utf-8")],
)
def test_names_in_another_character_set_than_is_declared(tmp_path, declared, written):
    path = tmp_path / "a.dcm"
    raw = "王^小东".encode(written)
    raw += b" " * (len(raw) % 2)
    charset = declared.encode() + b" " * (len(declared) % 2)
    path.write_bytes(
        b"\x08\x00\x05\x00CS" + len(charset).to_bytes(2, "little") + charset
        + b"\x10\x00\x10\x00PN" + len(raw).to_bytes(2, "little") + raw
    )  # fmt: skip
    with quiet():
        found = person_of(pydicom.dcmread(path, force=True))
    assert tells_of("王小东的结节", found.values())
