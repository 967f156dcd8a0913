"""V-STaR (arXiv:2503.11495): what, when and where about one video, asked in two orders."""
