"""`uvicorn app.main:app --reload --port 8600`"""

from headgate.asgi import gateway

app = gateway(preset="service-mesh")
