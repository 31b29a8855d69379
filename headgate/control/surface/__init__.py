"""The gateway's own endpoints on the public listeners, as configuration has them (`surface`).

Reading order: records and numbers (what is known), views (what each view shows of it), answers (one request, one
answer), listed (the OpenAPI document of what is answered), app (the socket behind the workers), own_answers (what
workers are told, to answer alone).

Laws: knows the configured items and nothing else, so that nothing else can be reached through the data plane; who may
ask was decided by the worker; what a template sees is the record of its view; records hold no secret.
"""
