"""Timers, deadlines and background tasks, on top of asyncio. Nothing here knows a pool."""
