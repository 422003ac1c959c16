"""The demonstration: peers in processes of their own that train one model over loopback UDP."""
