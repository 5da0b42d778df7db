"""kiam in two processes: agents that open the door, and the server that knows the pods and alone may assume roles."""
