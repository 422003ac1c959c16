"""The protocol's machines: message bytes and time in, events and message bytes out.

None knows a transport; each works over any carrier that keeps messages whole, in order and authentic.

========================  =======================================================================
``manifest_fetch``        one per peer: the manifest, for a joiner that knows the swarm's id alone
``manifest_handshake``    one per peer: do both sides mean the same swarm, model and rules?
``fingerprint_exchange``  one per peer: what do our data have in common?
``membership``            one per swarm: who is there, and where?
``gossip``                one per swarm: which updates are offered, accepted and refused?
``exchange``              one per swarm: effects that both sides apply, or neither
========================  =======================================================================
"""
