"""Rows of V-STaR tables as published, and as their own columns give them."""

# Acc, tIoU of chain 1 and 2, vIoU of chain 1 and 2, mAM, mLGM, in percent (arXiv:2510.20579 v2, tables 1 and 10)
TABLE_1 = {
    "GPT-4o": (60.8, 16.7, 12.8, 6.5, 3.0, 26.8, 38.2),
    "Gemini-2-Flash": (53.0, 24.5, 23.8, 4.6, 2.2, 26.9, 35.6),
    "LLaVA-Video": (49.5, 10.5, 12.2, 1.9, 1.3, 20.8, 27.3),
    "VideoChat2": (36.2, 13.7, 12.5, 2.5, 1.0, 17.0, 20.3),
    "Qwen2.5-VL-7B": (33.5, 15.4, 13.8, 17.0, 2.5, 19.3, 22.4),
    "Sa2VA-8B": (16.4, 0.1, 0.0, 32.3, 37.5, 17.1, 20.3),
    "Open-o3-Video-7B": (61.0, 24.5, 24.0, 25.4, 6.0, 33.7, 46.6),
    "Qwen3-VL-4B": (59.6, 18.6, 19.2, 26.8, 7.7, 31.9, 43.7),
    "Open-o3-Video-4B": (59.7, 25.1, 23.8, 31.2, 8.1, 34.6, 47.3),
    "Qwen3-VL-8B": (42.9, 23.5, 24.4, 27.3, 7.1, 28.0, 34.4),
    "Open-o3-Video-8B": (61.1, 24.9, 23.5, 33.2, 8.8, 35.5, 49.0),
    "Open-o3-Video-32B": (64.6, 26.4, 26.0, 33.6, 11.9, 37.9, 53.7),
}
# Rows whose own columns give other numbers than the two printed ones: what they give.
RECOMPUTED = {
    "Video-LLaMA3": (41.9, 23.0, 23.1, 0.9, 0.2, 21.83, 27.0),
    "Oryx-1.5-7B": (20.5, 13.5, 14.8, 10.1, 3.5, 13.82, 15.10),
    "InternVL-2.5-8B": (44.2, 8.7, 7.8, 0.7, 0.1, 17.6, 22.45),
    "TRACE": (17.6, 19.74, 17.1, 0.0, 0.0, 12.0, 13.3),
    "Qwen3-VL-32B": (57.5, 24.5, 25.7, 30.9, 7.5, 33.9, 45.6),
}
