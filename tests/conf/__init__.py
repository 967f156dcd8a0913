"""Every file of conf/."""
