"""`uvicorn main:app --host 0.0.0.0 --port 8080`"""

from headgate.asgi import gateway

app = gateway(preset="ai-edge")
