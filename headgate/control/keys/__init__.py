"""API keys in a database: control and the commands use it, requests never do.

key_store   what there is to do with keys in the database (control.database)
follower    what has changed there
sync        from the database to the file that workers read
shown       a key as operators see it
"""
