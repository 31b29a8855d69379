"""`uvicorn main:app --host 0.0.0.0 --port 8080 --reload`"""

from headgate.asgi import gateway

app = gateway(preset="ai-microservices")
