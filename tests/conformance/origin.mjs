// The server of the suite, on a free port of this machine alone; its first line says which.

import http from 'node:http'

import handleConfig from './http-cache-tests/server/handle-config.mjs'
import handleState from './http-cache-tests/server/handle-state.mjs'
import handleTest from './http-cache-tests/server/handle-test.mjs'

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const server = http.createServer((request, response) => {
  const [, first, ...rest] = new URL(request.url, 'http://localhost/').pathname.split('/')
  const handler = handlers[first]
  if (handler === undefined) {
    response.writeHead(404)
    response.end()
  } else {
    handler(rest, request, response)
  }
})
// Whoever stands before it may keep connections for as long as a run takes.
server.keepAliveTimeout = 120000
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
