"""Identity, handshake and packet protection, on the primitives of ``cryptography``.

No function here draws randomness of its own: private keys come from a
:class:`~quinkgl.crypto.keys.KeySource`.

===============  ==================================================================================
``keys``         where fresh private keys come from
``identity``     Ed25519 peer ids: which are refused, what a signature covers
``cose``         COSE_Sign1, the envelope of everything signed that outlives a session
``psk``          pre-shared key, mac1 key and root of a swarm
``mac``          mac1, the proof of possession on a first packet
``noise``        the Noise handshake
``packet_keys``  AES-256-GCM of one direction and key phase
===============  ==================================================================================
"""
