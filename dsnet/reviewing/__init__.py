"""The review of a store: the library under `python -m dsnet.review`.

    catalogue      what of every label is held: score, type, source, size; in which order they come
    stock          a store's labels, numbered; what is appended meanwhile gets the next numbers
    views          labels in an order
    tally          who decided on which labels, and how fast
    leases         a label is lent to one reader at a time
    plan           which labels are reviewed, in which order, by how many readers
    review         the queue, verdicts, undo and progress of a store's review
    labels         one label as the page shows it: its record, its versions
    mending        a dragged mark, a brush, a threshold become a label
    surroundings   what lies around a crop, and the slices beside it, where the source is at hand
    planes         pictures as the page takes them
    guard          who may ask: host, origin, token
    app            the page and its JSON
    serving        a socket, an address, a server; `timely`: no client holds it by silence
    agreement      what the readers' verdicts come to; `report` tells it

Importing this package loads none of it. Only `app`, `serving` and `timely` need the extra `review`.
"""
