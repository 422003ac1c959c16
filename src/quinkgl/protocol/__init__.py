"""The protocol's machines: message bytes and time in, events and message bytes out.

None knows a transport; each works over any carrier that keeps messages whole, in order and authentic.

======================  ==========================================================================
``manifest_handshake``  one per peer: do both sides mean the same swarm, model and rules?
``membership``          one per swarm: who is there, and where?
``gossip``              one per swarm: which updates are offered, accepted and refused?
======================  ==========================================================================
"""
