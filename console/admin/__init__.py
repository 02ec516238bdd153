"""The operator site, subject by subject."""

from console.admin import data_requests as data_requests
from console.admin import flags as flags
from console.admin import incidents as incidents
from console.admin import jobs as jobs
from console.admin import switches as switches
