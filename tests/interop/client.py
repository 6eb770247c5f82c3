"""HTTP in which nothing waits for ever."""

import requests


class Client(requests.Session):
    """A session whose requests are answered within a minute, or are errors."""

    def request(self, *arguments, **named):
        return super().request(*arguments, **{"timeout": 60, **named})
