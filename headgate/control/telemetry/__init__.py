"""What control keeps of what happened: records of requests, the gateway's own log, errors, the course of the metrics.

Reading order: part (how it hangs together), requests and spans, log_lines, errors, history over changes, exemplars,
stream (who watches live), otlp (where spans are sent).

Laws: everything is bounded, by telemetry.kept or by a number in the file; nothing here is read on the request path, and
nothing of it outlives control.
"""
