"""Pure codecs of the QuinkGL wire protocol: bytes in, values out, and back.

Nothing here has state, reads a clock or draws a random number. Every function whose name ends in
``_untrusted`` takes bytes from the network, does bounded work and raises nothing but
:class:`~quinkgl.wire.errors.RemoteProtocolError`.

========================  ==============================================================================
``spec_data``             loads the data files of the specification, the single source of every number
``errors``                error codes and the two exceptions of the protocol side
``limits``                every bound and constant, typed
``cbor``                  deterministic CBOR, the encoding of control messages and of everything signed
``addresses``             IP address and port as bytes and as text
``packets``, ``frames``   the fixed binary layouts inside datagrams
``control``, ``messages`` the ordered stream of messages and what they say
========================  ==============================================================================
"""
