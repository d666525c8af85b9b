-- What one onboarding run found, once, however often the run tries.
MERGE `{{ project }}.{{ dataset }}.org_onboarding_validation` AS known
USING (SELECT check_name, passed, detail FROM UNNEST(@checks)) AS found
ON known.run_id = @run_id AND known.check_name = found.check_name
WHEN MATCHED THEN
  UPDATE SET passed = found.passed, detail = found.detail, checked_at = @now
WHEN NOT MATCHED THEN
  INSERT (org_slug, run_id, check_name, passed, detail, checked_at)
  VALUES (@org_slug, @run_id, found.check_name, found.passed, found.detail, @now)
