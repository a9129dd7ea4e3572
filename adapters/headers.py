"""Headers that every dialect sends alike."""

from adapters.base import Ask, Auth, Target


def headers_for(ask: Ask, target: Target, accept: str | None = None) -> dict[str, str]:
    """Content types, the credential in the header its provider wants, those of the client's that
    are the dialect's own (`openai-beta`, `anthropic-beta`), and the operator's."""
    stream = "text/event-stream" if ask.stream else "application/json"
    headers = {"content-type": "application/json", "accept": accept or stream}
    if target.api_key is not None and target.auth is not Auth.SIGV4:
        secret = target.api_key.get_secret_value()
        headers[target.auth] = "Bearer " + secret if target.auth is Auth.BEARER else secret
    own = target.dialect + "-"
    headers.update((name, value) for name, value in ask.headers if name.startswith(own))
    headers.update(target.headers)
    return headers
