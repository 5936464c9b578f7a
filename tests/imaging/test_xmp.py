"""The history in XMP: events are added, and nothing else in a packet changes."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import PIL.Image
import pytest

from imaging.reading import read_image
from imaging.writing import encode_image
from imaging.xmp import with_event

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
EVENT = "{http://ns.adobe.com/xap/1.0/sType/ResourceEvent#}"
HEAD = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
    b'xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" dc:format="image/tiff">'
)
TAIL = b"</rdf:Description></rdf:RDF></x:xmpmeta>"
EARLIER = (
    b'<xmpMM:History>\n <rdf:Seq>\n  <rdf:li stEvt:action="saved" stEvt:parameters="by a camera"/>\n </rdf:Seq>'
    b"</xmpMM:History><dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>"
)


def history(packet: bytes) -> list[str]:
    """Parameters of the events of the only history."""
    (sequence,) = ET.fromstring(packet).iterfind(f".//{{http://ns.adobe.com/xap/1.0/mm/}}History/{RDF}Seq")
    return [event.attrib[f"{EVENT}parameters"] for event in sequence]


@pytest.mark.parametrize(
    ("packet", "before"),
    [
        (None, []),
        (HEAD + TAIL, []),
        (HEAD + EARLIER + TAIL, ["by a camera"]),
        (b'<?xpacket begin="" id="x"?>' + HEAD + EARLIER + TAIL + b'<?xpacket end="w"?>', ["by a camera"]),
    ],
)
def test_events_are_added_to_the_history_and_all_else_stays(packet: bytes | None, before: list[str]) -> None:
    first = with_event(packet, 'denoising by <"odd & name">')
    second = with_event(first, "resized to 96x64")
    assert history(second) == [*before, 'denoising by <"odd & name">', "resized to 96x64"]
    (software,) = {event.attrib.get(f"{EVENT}softwareAgent", "") for event in ET.fromstring(first).iter()} - {""}
    assert software.startswith("restore4k ")
    if packet:
        left = iter(second)
        assert all(byte in left for byte in packet)  # in this order


@pytest.mark.parametrize(
    "packet",
    [
        b"<x/>",
        (HEAD + TAIL).decode().encode("utf-16"),
        HEAD + b'<xmpMM:History rdf:parseType="Other"/>' + TAIL,
        HEAD + b"<xmpMM:History>" + TAIL,
    ],
)
def test_a_packet_of_another_form_is_left_alone(packet: bytes) -> None:
    assert with_event(packet, "denoising") == packet


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "HEIF", "JXL"])
def test_a_noted_picture_says_so_in_every_format(kind: str) -> None:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), "teal").save(stream, "PNG")
    noted = read_image(stream.getvalue()).with_note("denoising")
    assert history(read_image(encode_image(noted, kind)).xmp or b"") == ["denoising"]
    assert noted.without_metadata().with_note("denoising").xmp is None
