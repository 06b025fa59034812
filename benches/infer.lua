-- wrk: one infer request, over and over. BODY names a file; HEADER_LENGTH is set for binary tensors.
wrk.method = "POST"
wrk.body = io.open(os.getenv("BODY")):read("*a")
local header = os.getenv("HEADER_LENGTH")
if header then
  wrk.headers["Inference-Header-Content-Length"] = header
  wrk.headers["Content-Type"] = "application/octet-stream"
else
  wrk.headers["Content-Type"] = "application/json"
end
