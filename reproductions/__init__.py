"""What do the publications report, and what comes out here? ``python -m reproductions NAME`` repeats one."""
