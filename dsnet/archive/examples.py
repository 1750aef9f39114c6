"""How `python -m dsnet.label` is called, by sub-command: what its --help shows."""

from __future__ import annotations

EXAMPLES = {
    None: """\
start here:
  python -m dsnet.label demo --out demo            synthetic nodules; look at demo/sheet.png
  python -m dsnet.label recist --annotations DL_info.csv --images Images_png --out store
  python -m dsnet.label show store                 summary, best, median and worst labels
  python -m dsnet.label export store --format png --out pictures
  python -m dsnet.label check store                are its files whole?

A row that cannot be labelled stays in the store with its reason, and the run goes on.
Ctrl-C leaves a store that the same command with --resume completes.
exit codes: 0 done, 1 rows failed (with --strict) or are damaged (check, export), 2 wrong use,
129, 130 or 143 stopped.""",
    "demo": """\
examples:
  python -m dsnet.label demo --out demo
  python -m dsnet.label demo --out demo --count 60 --size 128 --seed 7""",
    "recist": """\
examples:
  a hundred lung lesions, to look at first:
    python -m dsnet.label recist --annotations DL_info.csv --images Images_png \\
        --out trial --type lung --limit 100 && python -m dsnet.label show trial
  all of it, on eight processes; again with --resume after a stop:
    python -m dsnet.label recist --annotations DL_info.csv --images Images_png \\
        --out store --workers 8 --resume
  every slice at 0.7 mm a pixel, soft-tissue window:
    python -m dsnet.label recist --annotations DL_info.csv --images Images_png \\
        --out store --isotropic 0.7 --window -175 275
  cuts and matting on the GPU (on two of them: --workers 2, a process each):
    python -m dsnet.label recist --annotations DL_info.csv --images Images_png \\
        --out store --device cuda""",
    "dicom": """\
examples:
  what is there, and what does not match:
    python -m dsnet.label dicom --images archive --marks reports --dry-run
  label it; DICOM segmentations for the viewer beside the store:
    python -m dsnet.label dicom --images archive --marks reports --out store --seg segmentations
  an archive that is labelled again and again keeps its index; UIDs as keyed hashes:
    python -m dsnet.label dicom --images archive --marks reports --out store \\
        --index archive.parquet --hash-key secret.txt --workers 8
Marks are found in structured reports, presentation states, AIM files, exports of OHIF and Slicer,
tables and npz files, and find their slices by UID. A mark without its slice is a row with its
reason. Nothing that names a patient is stored or told, unless --keep-identifiers.""",
    "masks": """\
examples:
  python -m dsnet.label masks --images images --masks masks --out store
  python -m dsnet.label masks --images images --masks masks --out store --device cuda
  16-bit HU + 32768 (or DICOM, with the extra dicom), shown in the lung window:
    python -m dsnet.label masks --images hu --masks masks --out store --window -1350 150
  pictures called P12_slice3.png, with P12 the patient:
    python -m dsnet.label masks --images images --masks masks --out store --patients '^[^_]+'
An image and its mask have the same name, but for the ending: PNG, TIFF, BMP or PGM. A mask's
non-zero pixels are the lesion; of one that JPEG or resizing made grey, what is half white.
The patient is a number of LIDC or DeepLesion in the name, DICOM's PatientID (hashed), or the first
folder below --images, unless --patients says otherwise: training splits by patients.""",
    "raters": """\
examples:
  python -m dsnet.label raters --data LIDC-IDRI-slices --out store
  python -m dsnet.label raters --data LIDC-IDRI-slices --out store --device cuda
Folders as ROOT/PATIENT/nodule-N/{images,mask-0..mask-3}/slice-K.png.""",
    "lidc": """\
examples:
  python -m dsnet.label lidc --images LIDC-IDRI --xml tcia-lidc-xml --out store
  the paper's nodules, of all four readers, a slice each:
    python -m dsnet.label lidc --images LIDC-IDRI --xml tcia-lidc-xml --out store \\
        --readers 4 --largest 1
Slices are found by the UIDs in the XML files. A reader's outline is outside of the nodule; outlines
of several readers are one nodule where they share a pixel. A reader who outlined nothing counts in
the consensus. What readers marked by a point (nodules under 3 mm, non-nodules) is counted, not
labelled. Needs the extra dicom.""",
    "volumes": """\
examples:
  python -m dsnet.label volumes --data PROMISE12 --out store
  python -m dsnet.label volumes --data PROMISE12 --out store --device cuda
MetaImage files: ROOT/.../CaseNN.mhd with CaseNN_segmentation.mhd (.raw, .zraw or .mha). Each slice
is labelled; the 1st to the 99th percentile of a volume's grey values is shown as 0..1. A case is a
patient, unless --patients says otherwise.""",
    "show": """\
examples:
  python -m dsnet.label show store
  python -m dsnet.label show store --out sheets --count 30""",
    "check": """\
examples:
  python -m dsnet.label check store
  python -m dsnet.label check store --repair
Reads all of it: the shards' checksums, every row. A line for each fault; exit code 1 then.
--repair takes the damaged shards and rows out, keeps them in STORE-damaged, and says what was
lost; the command that made the store labels it anew with --resume.""",
    "compact": """\
examples:
  python -m dsnet.label compact store
  python -m dsnet.label compact store --shard-rows 1024
Merges shards that follow each other up to so many rows; no row, no order and no value changes.
Killed at any moment nothing is lost: whoever writes to the store next finishes it.""",
    "push": """\
examples:
  python -m dsnet.label push store s3://bucket/store
  python -m dsnet.label show s3://bucket/store
Shards are verified before they are sent, and not sent again when they are there: after a kill, or
when the store has grown, the same command goes on. show, check and export read a store at an
address. Needs the extra remote, and s3fs for s3://.""",
    "export": """\
examples:
  python -m dsnet.label export store --format png --out pictures
  python -m dsnet.label export store --format npz --out lnsm --split 1000 400 100 --seed 0
  python -m dsnet.label export store --format nnunet --out Dataset501 --min-quality 0.7
  of labels of DICOM, for a viewer, and with the patient's name and number for the PACS:
    python -m dsnet.label export store --format dicom-seg --images archive --out segmentations
    python -m dsnet.label export store --format dicom-sr --images archive --out reports \\
        --keep-identifiers --to https://pacs.example/dicom-web
  as volumes on the series' own grids:
    python -m dsnet.label export store --format nifti --images archive --out volumes
A row that cannot be written is told with its reason, and the others are written; exit code 1.""",
}
