"""kie.ai at the border: everything that speaks to the vendor, or judges what it said.

==================  ====================================================================
`account.py`        where the vendor is, which key, how long to wait
`errors.py`         the fault tree: what each way of failing means for the money
`messages.py`       request bodies, and what an answer says
`answers.py`        what an answer to a purchase, or to a free call, means
`failures.py`       why a generation failed, and whether to try again
`connection.py`     one fresh connection, one purchase
`session.py`        kept-alive connections, for all that is free
`client.py`         the calls of one thread: purchase, upload, credits, a single look
`poller.py`         hundreds of looks at once
`metered.py`        each call is counted
`words.py`          the vendor's words, made safe to show
==================  ====================================================================

The vendor's contract is known from its documents and from recorded traffic; the two often disagree.
Where this package follows one against the other, the place says so.
"""
