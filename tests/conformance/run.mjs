// Run the suite against the cache at a URL, all of it or the tests that are named; write what came of it as JSON.
//
//     node run.mjs URL [ID...]

import http from 'node:http'

import { getResults, runTests } from './http-cache-tests/client/runner.mjs'
import surrogate from './http-cache-tests/tests/surrogate-control.mjs'
import suites from './http-cache-tests/tests/index.mjs'

// As many as there are: most of a test is waiting for something to become stale.
const AT_ONCE = 1000

const agent = new http.Agent({ keepAlive: true, maxSockets: 50 })

// What the suite uses of fetch, and nothing done on top: the one in Node adds Cache-Control and Accept fields.
function fetch (url, init) {
  return new Promise((resolve, reject) => {
    const target = new URL(url)
    const headers = ['Host', target.host]
    const body = init?.body
    for (const [name, value] of init?.headers ?? []) headers.push(name, String(value))
    if (body !== undefined) headers.push('Content-Length', String(Buffer.byteLength(body)))
    const request = http.request(target, { method: init?.method ?? 'GET', headers, agent }, response => {
      const pieces = []
      response.on('data', piece => pieces.push(piece))
      response.on('error', reject)
      response.on('end', () => {
        const fields = new Headers()
        for (let at = 0; at < response.rawHeaders.length; at += 2) {
          fields.append(response.rawHeaders[at], response.rawHeaders[at + 1])
        }
        resolve({
          status: response.statusCode,
          statusText: response.statusMessage,
          headers: fields,
          text: async () => Buffer.concat(pieces).toString()
        })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

const [base, ...ids] = process.argv.slice(2)
const all = [...suites, surrogate]
const chosen = all.map(suite => ({
  ...suite,
  tests: suite.tests.filter(test => test.browser_only !== true && (ids.length === 0 || ids.includes(test.id)))
}))

await runTests(chosen, fetch, false, base, AT_ONCE)
const results = getResults()
const told = []
for (const suite of chosen) {
  for (const test of suite.tests) {
    told.push({
      suite: suite.name,
      id: test.id,
      name: test.name,
      kind: test.kind ?? 'required',
      depends_on: test.depends_on ?? [],
      result: results[test.id]
    })
  }
}
process.stdout.write(JSON.stringify(told))
agent.destroy()
