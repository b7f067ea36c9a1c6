"""Why a page is as it is: the origin of each value, and what stopped the rest. Computed when asked, stored nowhere."""
