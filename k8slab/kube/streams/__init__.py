"""Remote sessions (exec, attach, port-forward) and the wires they come over: SPDY/3.1 and WebSocket.

``carrier``, ``takeover``, ``dial``   bytes both ways, of requests upgraded here and elsewhere
``mux``                               SPDY's streams on a carrier
``session``                           what a remote command is made of, whatever wire it comes over
``spdy_front``, ``websocket_front``   the wires' ends
``forwarding``                        connections to ports of a pod
"""
