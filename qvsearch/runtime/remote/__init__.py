"""Vectors and scores from servers that the user names, e.g. of vLLM.

`loading` returns an embedder or a reranker over several servers, and `dispatch` feeds these from
one queue. `discovery` chooses the dialect of a server, a class such as that of `vllm`. Pictures are
prepared and texts are cut here; only pixels, words and instructions are sent.
"""
