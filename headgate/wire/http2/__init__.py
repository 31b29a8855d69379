"""HTTP/2 (RFC 9113), for clients' connections and upstreams' alike: frames here, the life of a request in the exchange.

    socket -> guard -> frames | codec (h2) -> link -> lane -> what the lane carries:
                                                              stream (a client's request)
                                                              call + answer (a request to an upstream), end (a tunnel)
    socket <- writer <- lanes, in turn

guard       what a peer may send, by the headers of its frames
codec       h2's connection: which frame may come when, settings, windows
frames      the plain frames, done to h2's state without an object for each
fields      blocks of fields in, within bounds; encoding: out, without a table
head        fields to heads, by the rules and tables of HTTP/1
lane        one stream: what waits to be sent, what came and is not acknowledged
writer      from lanes to one write a turn of the loop
link        a connection, the part that both sides share; connection is a client's, upstream one to an endpoint
inquiry     one question on a connection of its own, for health checks

Laws: only this package knows of frames and streams; whoever is above sees wire.stream.ClientStream and wire.call.Call.
Only codec, frames and fields know the insides of h2 and hpack; tests/wire/http2/test_codec.py tells when these change.
"""
