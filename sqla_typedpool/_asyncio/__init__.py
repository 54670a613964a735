"""Timers, deadlines and background tasks, on top of asyncio. They do not depend on the pool."""
