"""Instances of services that registered with this gateway.

instance       what one is, and what of one is taken
table          where they are kept: beside the keys, in the database of control
desk           the one thread that waits for the database
checks         asking instances how they are
registrations  what there is to do with them, and who is dropped when
"""
