// node-postgres through the firewall: prints what it sees as JSON, one query a line of arguments.
'use strict'
const { Client, types } = require(process.env.RINGFENCE_TEST_NODE + '/node_modules/pg')
types.setTypeParser(1184, (v) => v) // timestamptz as text

async function main() {
  const client = new Client({ connectionString: process.env.URL, ssl: { rejectUnauthorized: false } })
  await client.connect()
  await client.query("SET timezone = 'UTC'")
  const out = {}
  const columns = process.env.COLUMNS
  out.simple = (await client.query({ text: `SELECT ${columns} FROM users WHERE id IN (0, 7, 100) ORDER BY id`, rowMode: 'array' })).rows
  out.parameters = (await client.query({ text: `SELECT ${columns} FROM users WHERE id = ANY($1) ORDER BY id`, values: [[0, 7, 100]], rowMode: 'array' })).rows
  const named = { name: 'by-id', text: `SELECT ${columns} FROM users WHERE id = $1`, rowMode: 'array' }
  out.prepared = []
  for (const id of [0, 7, 100]) out.prepared.push((await client.query({ ...named, values: [id] })).rows[0])
  try {
    await client.query('SELECT id FROM users WHERE credit_card = $1 AND password_hash = $1', ['x'])
    out.refusal = null
  } catch (e) {
    out.refusal = { code: e.code, hint: e.hint, message: e.message }
  }
  out.after = (await client.query('SELECT 40 + 2 AS n')).rows[0].n
  await client.query('BEGIN')
  await client.query('UPDATE users SET num_logins = $1 WHERE id = 7', [4242])
  await client.query('ROLLBACK')
  const multi = await client.query('SELECT 1 AS a; SELECT 2 AS b')
  out.multi = multi.map((r) => r.rows[0])
  await client.end()
  console.log(JSON.stringify(out))
}

main().catch((e) => { console.error(e); process.exit(1) })
