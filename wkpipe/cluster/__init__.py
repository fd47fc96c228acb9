"""Jobs on a cluster: what they request, how they report, and what happens when one fails."""
