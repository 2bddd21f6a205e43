"""Files on this machine and, if a path is a URI, in object stores: list, read, write, replace and remove them.

A local path is a plain string and costs no more than the system's own calls. A URI (`s3://bucket/key`) is used as it
is, with percent-encoding for characters that a URI cannot contain, and connection options after a `?`. For both,
failures raise an OSError with the reason in its `strerror`. pyarrow is imported for the first URI.
"""

from rayrml.storage.files import (
    exists,
    files,
    is_file,
    is_folder,
    link,
    list_folder,
    local_copy,
    move,
    read,
    read_start,
    remove,
    walk,
    walk_states,
)
from rayrml.storage.members import Member, is_member, member_path, reading_together, stored_in
from rayrml.storage.paths import absolute, decoded, is_uri, join, marked, parent, split, suffix
from rayrml.storage.pieces import Pieces, find_pieces, in_pieces, map_files
from rayrml.storage.unfinished import Unfinished, remove_abandoned, write

__all__ = [
    "Member",
    "Pieces",
    "Unfinished",
    "absolute",
    "decoded",
    "exists",
    "files",
    "find_pieces",
    "in_pieces",
    "is_file",
    "is_folder",
    "is_member",
    "is_uri",
    "join",
    "link",
    "list_folder",
    "local_copy",
    "map_files",
    "marked",
    "member_path",
    "move",
    "parent",
    "read",
    "read_start",
    "reading_together",
    "remove",
    "remove_abandoned",
    "split",
    "stored_in",
    "suffix",
    "walk",
    "walk_states",
    "write",
]
