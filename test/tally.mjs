// A reporter for node:test that counts tests (not suites, nor the files around them) into one line of JSON, and keeps what the
// failed ones said, so that it can be said again where it is found: at the end.
export default async function* tally(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const failures = [];
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') continue;
    // A file that could not be loaded is reported as a failed test of its own, and should count.
    if (type === 'test:fail') {
      counts.failed++;
      const { error } = data.details ?? {};
      failures.push({
        name: data.name,
        file: data.file ?? '',
        why: String(error?.cause?.stack ?? error?.message ?? error),
      });
    } else if (data.skip !== undefined || data.todo !== undefined) counts.skipped++;
    else counts.passed++;
  }
  yield `${JSON.stringify({ ...counts, failures })}\n`;
}
