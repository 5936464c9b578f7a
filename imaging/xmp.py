"""History in XMP: what was done to the pixels, and by which software (XMP Media Management, `xmpMM:History`)."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from xml.sax.saxutils import quoteattr

EVENT_NAMESPACE = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
HISTORY, END_OF_SEQUENCE, END_OF_RDF = b"<xmpMM:History>", b"</rdf:Seq>", b"</rdf:RDF>"
NEW_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def with_event(packet: bytes | None, parameters: str) -> bytes:
    """The packet, or a new one, with one more event in its history.

    A packet of another form (UTF-16, other prefixes) is returned unchanged: the user's data come first. The event has
    no time, so that the same steps give the same bytes.
    """
    packet = packet or NEW_PACKET
    event = (
        f'<rdf:li xmlns:stEvt="{EVENT_NAMESPACE}" stEvt:action="edited" stEvt:softwareAgent={quoteattr(_software())}'
        f" stEvt:parameters={quoteattr(parameters)}/>"
    ).encode()
    history = packet.find(HISTORY)
    if history >= 0:
        end = packet.find(END_OF_SEQUENCE, history)
        return packet if end < 0 else packet[:end] + event + packet[end:]
    end = packet.rfind(END_OF_RDF)
    if end < 0 or b"xmpMM:History" in packet:
        return packet
    described = (
        b'<rdf:Description rdf:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/">'
        b"<xmpMM:History><rdf:Seq>" + event + b"</rdf:Seq></xmpMM:History></rdf:Description>"
    )
    return packet[:end] + described + packet[end:]


@cache
def _software() -> str:
    try:
        return f"restore4k {metadata.version('restore4k')}"
    except metadata.PackageNotFoundError:
        return "restore4k"
