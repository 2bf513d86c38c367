// Runs bundles' SQL on Postgres with pgvector (pglite, in this process).
// Takes the folder of node_modules and a JSON file, by bundle: create, search (statements), rows (id first), parameters (a
// list per query). Prints the rows found, by bundle and query.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { PGlite } = require("@electric-sql/pglite");
const { vector } = require("@electric-sql/pglite/vector");

const db = await PGlite.create({ extensions: { vector } });
const found = {};
for (const [name, bundle] of Object.entries(JSON.parse(readFileSync(process.argv[3], "utf8")))) {
  await db.exec("DROP TABLE IF EXISTS vectors;");
  const [table, index] = bundle.create.split(/(?=CREATE INDEX)/);
  await db.exec(table);
  const width = bundle.rows[0].length;
  for (let start = 0; start < bundle.rows.length; start += 100) {
    const some = bundle.rows.slice(start, start + 100);
    const values = some.map((row, i) => "(" + row.map((_, j) => `$${i * width + j + 1}`).join(", ") + ")");
    await db.query(`INSERT INTO vectors VALUES ${values.join(", ")}`, some.flat());
  }
  if (index) await db.exec(index);
  const settings = bundle.search.trim().split(/;\n/);
  const search = settings.pop();
  for (const set of settings) await db.exec(set);
  found[name] = [];
  for (const parameters of bundle.parameters) {
    found[name].push((await db.query(search.replace(/;\s*$/, ""), parameters)).rows);
  }
}
console.log(JSON.stringify(found));
