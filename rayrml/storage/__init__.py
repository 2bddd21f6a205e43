"""Files of this machine and, where a path is a URI, of object stores: listed, read, written, replaced and removed.

A path of this machine is a plain string, and costs no more than the system's own calls. A URI (`s3://bucket/key`) is
taken as it is, with percent signs for what a URI cannot hold, and with options for the connection after a `?`. What
goes wrong is an OSError with the reason in its `strerror`, for both. pyarrow is imported when the first URI is met.
"""

from rayrml.storage.files import exists, files, is_file, is_folder, local_copy, move, read, remove, walk
from rayrml.storage.paths import absolute, decoded, is_uri, join, marked, parent, split, suffix
from rayrml.storage.unfinished import Unfinished, write

__all__ = [
    "Unfinished",
    "absolute",
    "decoded",
    "exists",
    "files",
    "is_file",
    "is_folder",
    "is_uri",
    "join",
    "local_copy",
    "marked",
    "move",
    "parent",
    "read",
    "remove",
    "split",
    "suffix",
    "walk",
    "write",
]
