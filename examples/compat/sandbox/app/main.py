"""`uvicorn app.main:app --reload --host 0.0.0.0 --port 8080`"""

from headgate.asgi import gateway

app = gateway(preset="sandbox")
