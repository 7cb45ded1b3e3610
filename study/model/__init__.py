"""The network, its exact size, and the memory of one training step.

A tensor's name ends in a letter per axis, here and in ``study.training``:

    B  window of a batch              D  width of the residual stream (d_model)
    T  day of the context             H  head of attention
    F  feature                        E  width of a head
    N  token                          S  window and head as one axis (B * H)
    Q  token that is a query: N,      M  width inside the feed-forward block (d_ff)
       or the last one alone          R  input of the network's head: D, or N * D
    P  number of a patch              K  query that ProbSparse attention keeps
    L  day of a patch                 U  key that ProbSparse attention samples
    V  window of the sensitivity probe, in which one feature is replaced
    A  asset of a panel, whose B is a day: B * A windows are one axis of the encoder
    G  sector of a panel
"""
