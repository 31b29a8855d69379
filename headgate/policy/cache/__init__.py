"""Response caching (RFC 9111, as a shared cache): what may be kept, for how long, for whom. Pure rules.

settings    what can be set
directives  Cache-Control of requests and of answers, as far as a shared cache acts on it
entry       an answer that is kept, and the bytes it is kept as
key         which requests are the same, and who shares their answers
storing     from an answer to an Entry, or why there is none
reuse       Rules: may this entry answer this request, now
answering   the answer made of an entry: 304, ranges, Age
status      what the cache did, for Cache-Status (RFC 9211)
"""
