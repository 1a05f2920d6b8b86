-- The requests that wrk sends, and its summary in a form made for reading by programs.
-- Arguments after "--": "same" (each request alike), "varied" (no two alike), "post" (64 KiB body),
-- "form" (a small form).

function init(args)
   if args[1] == "post" then
      wrk.method = "POST"
      wrk.body = string.rep("0123456789abcdef", 4096)
   elseif args[1] == "form" then
      wrk.method = "POST"
      wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
      wrk.body = "name=Ann+Example&mail=ann%40shop.example&text=When+do+the+red+shoes+come+back%3F"
   elseif args[1] == "varied" then
      -- A number that never comes back stands in the query and in the cookie, so that what a proxy
      -- remembers of one request helps it with none of the next.
      local run = os.time() .. "-"
      wrk.headers["Cookie"] = "session=" .. run .. "@@@; theme=dark; visits=@@@"
      local text = wrk.format("GET", wrk.path .. "?v=" .. run .. "@@@")
      local a, b, c, d = text:match("^(.-)@@@(.-)@@@(.-)@@@(.*)$")
      local serial = 0
      request = function()
         serial = serial + 1
         return a .. serial .. b .. serial .. c .. serial .. d
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "summary requests=%d duration_us=%d p50_us=%d p99_us=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
