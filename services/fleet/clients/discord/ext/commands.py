"""A bot that is ready as soon as it is started."""

import asyncio


class Bot:
    def __init__(self, command_prefix):
        self.listeners = []
        self.ready = False

    def add_listener(self, f, event):
        self.listeners.append(f)

    def command(self):
        return lambda f: f

    def is_ready(self):
        return self.ready

    async def start(self, token):
        print("discord login", "with a token" if token else "without a token", flush=True)
        self.ready = True
        for f in self.listeners:
            await f()

    async def logout(self):
        print("discord logout", flush=True)
        self.ready = False

    close = logout
