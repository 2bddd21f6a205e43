import pytest

from rayrml.errors import DataError

IMAGES = {"JPEGImages/a.jpg": (100, 210)}


def one(name="cat", corners=(11, 21, 60, 70), more="", keys=("xmin", "ymin", "xmax", "ymax")):
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def annotation(*objects, size="<size><width>210</width><height>100</height><depth>3</depth></size>", head=""):
    return f"{head}<annotation><filename>x.png</filename>{size}{''.join(objects)}</annotation>"


def read(data_set, content, **options):
    data_set.write({"Annotations/a.xml": content}, IMAGES)
    return data_set.boxes("JPEGImages", **options)


@pytest.mark.parametrize(
    "content",
    [
        annotation(one()).encode("utf-8-sig"),
        annotation(one()).encode("utf-16"),
        annotation(one()).replace("><", ">\r\n\t<").encode(),
        annotation(one(), head='<?xml version="1.0" encoding="utf-8"?>\n').encode(),
        annotation(one(), head='<?xml version="1.0" encoding="utf-16"?>').encode(),
        annotation(one(), head="<?xml version='1.0' encoding='GB2312'?>").replace("x.png", "图.png").encode("gb2312"),
        annotation(one(), head='<?xml version="1.0" encoding="ISO-8859-1"?>').replace("x.", "ü.").encode("latin-1"),
        annotation(one()).replace("x.png", "üäö.png").encode("latin-1"),
        annotation(one(), head='<?xml version="1.0" encoding="UTF-8"?>').replace("x.", "ü.").encode("latin-1"),
        annotation(one(" cat \n")).encode(),
        annotation(one(corners=(" 11 ", "21.0", "\n60\t", "7e1"))).encode(),
        annotation(one(more="<difficult>Unspecified</difficult><pose/>")).encode(),
        annotation(one(), size="").encode(),
        annotation(one(), size="<size><width>0</width><height>0</height></size>").encode(),
        annotation(one(), size="<size><width>210.0</width><height> 100 </height></size>").encode(),
        annotation(one(corners=(60, 70, 11, 21), keys=("xmax", "ymax", "xmin", "ymin"))).encode(),
        annotation(one(), "<!-- <object> -->").encode(),
    ],
)
def test_ways_to_write_a_box(data_set, content):
    boxes = read(data_set, content)
    assert boxes.bad == {}
    assert boxes.classes == ("cat",)
    assert boxes.table.corners.tolist() == [[10, 20, 60, 70]]
    assert not boxes.table.ignored.any()


def test_names_may_have_any_characters_if_the_encoding_is_known(data_set):
    head = '<?xml version="1.0" encoding="iso-8859-1"?>'
    assert read(data_set, annotation(one("Käfer"), head=head).encode("latin-1")).classes == ("Käfer",)
    assert read(data_set, annotation(one("Käfer")).encode()).classes == ("Käfer",)
    assert read(data_set, annotation(one("traffic light &amp; pole")).encode()).classes == ("traffic light & pole",)
    unclear = annotation(one(), one("Käfer")).encode("latin-1")
    bad = read(data_set, unclear, classes=["Käfer"]).bad
    assert "Annotations/a.xml, object 2: its name is not UTF-8 text" in bad[0]


ROTATED = "<object><name>cat</name><robndbox><cx>1</cx></robndbox></object>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<!-- -->", ", line 1: is not valid XML. No element found"),
        ("<annotation><object></annotation>", ", line 1: is not valid XML. Mismatched tag"),
        ("no XML", ", line 1: is not valid XML. Syntax error"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>', ": holds <!DOCTYPE, which is refused"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>'.encode("utf-16"), ": holds <!DOCTYPE, which is refused"),
        ("<!entity a><annotation/>", ": holds <!entity, which is refused"),
        ("<annotation>&x;</annotation>", ", line 1: is not valid XML. Undefined entity"),
        ("<annotations><image/></annotations>", ": is XML, but not VOC's: it begins with <annotations>"),
        (annotation(head='<?xml version="1.0" encoding="klingon"?>'), ", line 1: the encoding 'klingon' is unknown"),
        (annotation(head='<?xml version="1.0" encoding="utf-7"?>'), ", line 1: the encoding 'utf-7' is unknown"),
        (annotation(one("é"), head='<?xml version="1.0" encoding="ascii"?>'), ": is not ascii text"),
        (annotation(one("")), ", object 1: has no name"),
        (annotation(one(), one(" \n ")), ", object 2: has no name"),
        (annotation("<object/>"), ", object 1: has no name"),
        (annotation("<object><name>cat</name></object>"), ", object 1 ('cat'): has no bndbox. Expected one"),
        (annotation(ROTATED), ", object 1 ('cat'): has no bndbox. robndbox is not read"),
        (annotation(one(more="<bndbox/>")), ", object 1 ('cat'): has 2 bndbox"),
        (annotation(one(corners=(1, 2, 3), keys=("xmin", "ymin", "xmax"))), "('cat'): its bndbox has no ymax"),
        (annotation(one(corners=(1, 2, 3, "x"))), "('cat'): ymax is 'x'. Expected a number"),
        (annotation(one(corners=(1, 2, 3, ""))), "('cat'): ymax is ''. Expected a number"),
        (annotation(one(corners=(1, 2, 3, "nan"))), "('cat'): ymax is 'nan'. Expected a number"),
        (annotation(one(corners=(1, 2, 3, "inf"))), "('cat'): ymax is 'inf'. Expected a number"),
        (annotation(one(corners=(1, 30, 3, 20))), "('cat'): ymin 30 is above ymax 20"),
        (annotation(one(more="<difficult>2</difficult>")), "('cat'): difficult is '2'. Expected 0 or 1"),
        (annotation(size="<size><width>x</width></size>"), ": the image's width is 'x'"),
        (annotation(size="<size><width>100</width><height>210</height></size>"), "told as 100x210 pixels, but"),
        (b"\0\0\0\0", "holds a NUL byte"),
    ],
)
def test_mistakes_have_a_file_and_an_object(data_set, content, message):
    data_set.write({"Annotations/b.xml": annotation(one())}, {"JPEGImages/b.jpg": (100, 210)})
    boxes = read(data_set, content)
    assert list(boxes.bad) == [0]
    assert "Annotations/a.xml" + (message if message[0] in ",:" else "") in boxes.bad[0]
    assert message in boxes.bad[0]
    assert boxes.table.corners.tolist() == [[10, 20, 60, 70]]


def test_the_origin_is_that_of_the_whole_folder(data_set):
    unused = {"Annotations/other.xml": annotation(one(corners=(0, 1, 2, 3)))}
    data_set.write(unused)
    content = annotation(one())
    assert read(data_set, content).table.corners.tolist() == [[11, 21, 60, 70]]
    assert read(data_set, content, box_origin=1).table.corners.tolist() == [[10, 20, 60, 70]]
    labels = data_set.labels("JPEGImages")
    assert labels.classes == ("cat",)
    assert any("counted from 0" in note for note in labels.notes)
    assert any("1 label file of no image is not used: 'other.xml'" in note for note in labels.notes)


def test_shares_of_the_size_are_no_pixels(data_set):
    content = annotation(*(one(corners=(0.1, 0.1, 0.5, 0.2 * i)) for i in range(1, 4)))
    with pytest.raises(DataError, match="all boxes lie within the first pixel, as shares of the size do"):
        read(data_set, content)


def test_in_an_image_with_an_empty_file_is_nothing_to_be_found(data_set):
    data_set.write({"Annotations/b.xml": annotation(one())}, {"JPEGImages/b.jpg": (100, 210)})
    boxes = read(data_set, " \n")
    assert boxes.bad == {}
    assert boxes.table.counts.tolist() == [0, 1]


def test_labels_without_any_object_need_classes(data_set):
    with pytest.raises(DataError, match="has an object, so there are no classes"):
        read(data_set, annotation())
    assert read(data_set, annotation(), classes=["cat"]).counts["boxes"] == 0


def test_deep_and_large_files_end_in_boxes_or_mistakes(data_set):
    deep = f"<annotation>{'<a>' * 100_000}{'</a>' * 100_000}</annotation>"
    assert read(data_set, deep, classes=["cat"]).bad == {}
    assert read(data_set, annotation(*[one()] * 5000)).counts["duplicates"] == 4999
