"""`uvicorn apps.api-gateway.src.main:app --reload --port 8000`"""

from headgate.asgi import gateway

app = gateway(preset="vocelio")
