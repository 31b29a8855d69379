"""The admin listener: the API that operators, the command line, the dashboard and other programs use.

Reading order: app (what is served, and by which routers), subject (the gateway as they see it), access (who may),
answers (the shape of errors), door (what holds for every request). Each router is a file of its own.
"""
