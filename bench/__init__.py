"""The bench and the soak of Headgate: what one request costs, and what a long night leaves behind.

`python -m bench` runs Headgate beside its peers and prints CPU per request and ratios; `python -m bench.soak`
runs Headgate alone for a long time and checks every answer. Neither is a test: the suite holds no timed assertion.

The method, the same for every figure:

- The gateway is pinned to one core, the load generator and the upstream to another.
- A figure is CPU time of the gateway's whole process tree divided by the requests completed, because that is the
  one number that survives a noisy machine. Requests per second are shown, never judged.
- Rounds are interleaved over the peers (A B C A B C), a ratio is taken within a round, and the median of the
  rounds counts: what slows the machine for a minute slows every peer.

Reading order: `proc` (accounting), `stage` (starting and stopping), `configs`, `policies` and `peers` (who runs, with
which configuration), `load` (wrk), `measure` (one figure of one peer; `closed` needs no gateway for it), `rows` (THE
table of figures and bounds), `runner` (rounds), `report` and `chart` (words and a picture). The soak: `upstream`,
`answer` and `client` (who asks and who is asked), `gate` (what may be done to Headgate), `scene` (what every check
has), `checks` (THE table of long runs and their laws), `faults`, `floods` and `keys` (more of them), `soak`.
"""
