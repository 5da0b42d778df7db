"""In kube-apiserver's place on a laptop: service accounts, pods, and their tokens.

Every call is signed with the admin key: whoever can mint tokens can be any pod.
"""
