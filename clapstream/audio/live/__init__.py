"""What sources in real time share.

`live_source` watches a stream for stalls, lost sound and silence; `recovery` opens it again whenever it is lost;
`pace` limits how fast it is read.
"""
