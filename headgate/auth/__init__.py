"""Who asks, and what they may: verifiers and rules, pure.

Laws: keys, key sets and times are handed in; what needs the world (a key set, a call, a slow hash) is returned as a
Need and judged once it is here. A credential never leaves this package: what goes on is an Identity, or the reason of
a refusal.
"""
