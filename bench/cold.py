"""A new program's way to its first `start` event, step by step: prints what each took, in milliseconds, as JSON."""

import json
import time

begin_s = time.perf_counter()
import recsvc  # noqa: E402

imported_s = time.perf_counter()
with recsvc.get_user_media(audio="test:", video="test:") as stream:
    opened_s = time.perf_counter()
    with recsvc.MediaRecorder(stream) as recorder:
        recorder.start()
        recorder.wait("start", 20)
        begun_s = time.perf_counter()
steps_s = {"import": imported_s - begin_s, "get_user_media": opened_s - imported_s, "start": begun_s - opened_s}
steps_s["inside"] = begun_s - begin_s
print(json.dumps({f"{step}_ms": taken_s * 1e3 for step, taken_s in steps_s.items()}))
