"""The table of learning rate schedulers, and the schedules built from its rows."""

from rayrml.lr_schedulers.curves import LR_SCHEDULERS
from rayrml.lr_schedulers.schedule import Schedule, ScheduleChoice, choose_schedule

__all__ = ["LR_SCHEDULERS", "Schedule", "ScheduleChoice", "choose_schedule"]
